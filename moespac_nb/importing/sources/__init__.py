"""What logs are stored in: text and JSON, parquet, npz; each read some rows at a time."""
