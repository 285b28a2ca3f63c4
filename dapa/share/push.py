"""Push an exported folder to the hub: one explicit act, with the user's own login.

Nothing else in the house sends anything anywhere.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dapa.core.records import SettingError
from dapa.prompts.hub import is_hub_id

PUSHED = ("model", "patch", "lora")
"""What the hub takes as a model repository."""


def push(folder: Path, name: str, kind: str, private: bool = True, api: Any = None) -> str:
    """Upload a folder to a new repository.

    Args:
        folder: What was exported.
        name: `org/name`.
        kind: What it was exported as.
        private: Only for the owner's eyes, until they say otherwise on the hub.
        api: A `huggingface_hub.HfApi`.

    Returns:
        The address of the page.

    Raises:
        SettingError: A name that is none, no login, a repository that exists, no connection.
    """
    check(name, kind)
    import huggingface_hub
    import huggingface_hub.errors as errors

    hub = api or huggingface_hub.HfApi()
    try:
        hub.whoami()
        made = hub.create_repo(name, repo_type="model", private=private, exist_ok=False)
        hub.upload_folder(
            folder_path=str(folder), repo_id=name, commit_message=f"Add a {kind} made by DAPA"
        )
    except errors.LocalTokenNotFoundError as error:
        raise SettingError(
            f"nobody is logged in to the hub; log in with `hf auth login` ({folder} is written)"
        ) from error
    except (errors.HfHubHTTPError, OSError) as error:
        line = str(error).strip().splitlines()
        raise SettingError(
            f"{name} was not pushed ({line[0][:200] if line else type(error).__name__}); {folder} "
            f"is written: `hf upload {name} {folder}` sends it"
        ) from error
    return str(made)


def check(name: str, kind: str) -> None:
    """SettingError, before any work, for what cannot be pushed."""
    if kind not in PUSHED:
        raise SettingError(f"a {kind} is not pushed to the hub; push one of {', '.join(PUSHED)}")
    if not is_hub_id(name) or "@" in name:
        raise SettingError(f"{name[:100]!r} is no repository's name; give one as in me/my-model")
