"""What all views share: state, scripts, pages and fall-backs."""
