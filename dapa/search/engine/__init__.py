"""Who answers a search's questions: driver, scheduler and the memory between them."""
