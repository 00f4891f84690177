"""What is here: processors, memory, GPUs, the operating system."""
