"""What one would use otherwise, each as one command in an environment of its own."""
