"""EdgeQA: the contract that devices, agents and the cloud side share."""
