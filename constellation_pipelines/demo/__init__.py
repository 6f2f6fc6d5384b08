"""The demonstration: real scenes through a real model, from one command."""
