"""Widgets in real browsers; a package, so that its fixtures can last as long as it does."""
