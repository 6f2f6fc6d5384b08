"""The commands of `constellation`, one file per subject."""
