"""Images from disk with what is known of each, in every layout that is understood."""
