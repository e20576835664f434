"""What a training run will take on hardware that is not at hand: time, memory, input, communication and cost."""
