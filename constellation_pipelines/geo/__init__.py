"""Pure geometry of pixels and footprints: numbers in, numbers out."""
