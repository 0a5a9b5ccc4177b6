"""Five widgets, thin over the library, made of nothing but ipywidgets' own parts."""
