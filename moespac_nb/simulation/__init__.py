"""A trace replayed through a policy on a modelled machine."""
