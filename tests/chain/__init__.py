"""The readers of the chain: real files, real servers, hostile ones too."""
