"""Everything on one machine: embedded services and their supervisor."""
