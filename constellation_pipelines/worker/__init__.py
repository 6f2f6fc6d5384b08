"""One per host: claims runs, owns engines, forks run processes."""
