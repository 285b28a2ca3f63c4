"""Interventions done plainly: hooks on unwrapped copies, one prompt at a time."""

import numpy as np
import torch
from test_divergence import capture, modules, states
from test_openers import by_hand


def put(pair, model, places, openers, ids):
    """Log-odds of a plain model in which `places` {(layer, site): {position: state}} are set."""
    handles = []
    for key, wanted in places.items():

        def replace(_, args, output, wanted=wanted):
            new = states(output).clone()
            for position, state in wanted.items():
                new[0, position] = state
            return (new, *output[1:]) if isinstance(output, tuple) else new

        handles.append(modules(pair, model)[key].register_forward_hook(replace))
    try:
        return by_hand(model, ids, openers)
    finally:
        for handle in handles:
            handle.remove()


def outputs(pair, model, ids):
    """(layer, site) -> states (tokens, d) of a plain pass."""
    with torch.no_grad():
        seen, _ = capture(pair, model, ids)
    return {key: states(output)[0] for key, (_, _, output) in seen.items()}


def close(found, wanted):
    """Equal up to float32."""
    return np.allclose(found, wanted, rtol=1e-3, atol=2e-4)
