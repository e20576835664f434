"""A run's folder as one page to show somebody, and several runs compared on one; read from files alone."""
