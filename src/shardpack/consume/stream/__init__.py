"""Reading whole streams."""
