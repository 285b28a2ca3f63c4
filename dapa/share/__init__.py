"""Hand a result on: a model folder, a patch, a recipe, an adapter, a report, a bundle to replay."""
