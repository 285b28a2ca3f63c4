"""Choose freely, certify once: a search whose claim holds on prompts that chose nothing."""
