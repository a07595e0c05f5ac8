"""What the contract between operator and customer says."""
