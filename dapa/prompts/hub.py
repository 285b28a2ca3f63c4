"""Fetch a repository's files from the hub, and say in plain words why that failed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from dapa.core.records import DapaError

_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(?:@[\w./-]+)?")


def is_hub_id(name: str) -> bool:
    """Does this look like `org/name` or `org/name@revision`?"""
    return _ID.fullmatch(name) is not None


def fetch(
    name: str,
    patterns: Sequence[str],
    raises: type[DapaError],
    repo_type: str = "model",
    without: Sequence[str] = (),
) -> Path:
    """The local folder of a repository's files that match `patterns`; cached files are not fetched.

    Args:
        name: `org/name` or `org/name@revision`.
        patterns: Which files, as in `*.json`.
        raises: The error to raise, `PairError` or `PromptError`.
        repo_type: `model` or `dataset`.
        without: Which of those files not, as in `*/*`.
    """
    import huggingface_hub
    import huggingface_hub.errors as errors

    repo, _, revision = name.partition("@")
    try:
        return Path(
            huggingface_hub.snapshot_download(
                repo,
                repo_type=repo_type,
                revision=revision or None,
                allow_patterns=list(patterns),
                ignore_patterns=list(without) or None,
            )
        )
    except errors.GatedRepoError as error:
        raise raises(
            f"{repo} is gated; accept its licence on the hub and log in with `hf auth login`"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise raises(f"{repo} has no revision {revision!r}; check its branches") from error
    except errors.RepositoryNotFoundError as error:
        raise raises(
            f"{repo} is not on the hub, or is private; check the name or log in with "
            "`hf auth login`"
        ) from error
    except errors.HFValidationError as error:
        raise raises(
            f"{name!r} is neither a folder nor a hub id such as org/name; check its spelling"
        ) from error
    except (errors.LocalEntryNotFoundError, OSError) as error:
        raise raises(
            f"{repo} is not in the local cache and the hub cannot be reached; "
            "connect, or give a local path"
        ) from error
