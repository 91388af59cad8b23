"""What tests of widgets, pages and lessons share."""
