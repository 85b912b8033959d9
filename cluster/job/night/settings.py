"""Table `[night]` of the settings of a night."""

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from factory.release.series import DatedNames


class NightSettings(BaseModel):
    """What a night is told beside the options of the jobs that it runs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = "%Y-%m-%d"
    """name of a release, by its day (UTC), in the codes of strftime. A second release of a day gets
    a number: 2026-11-30.2"""
    keep_releases: Annotated[int | None, Field(gt=0)] = None
    """releases of nights that are kept at least, the newest ones"""
    keep_days: Annotated[int | None, Field(gt=0)] = None
    """releases of nights of the last so many days are kept. What neither rule keeps expires;
    without a rule nothing does"""
    withhold: bool = True
    """leave shards for which the gate was missed out of later releases"""
    max_withheld_share: Annotated[float, Field(gt=0, le=1)] = 0.5
    """share of the validated shards that one night may withhold; one shard always may be. Where
    more are bad, the refiner or the gate is at fault, and a person has to look"""
    mend: bool = True
    """where a step after ingest fails, look for damaged shards and make them again"""
    webhook: SecretStr | None = None
    """URL that gets a JSON object where the gate is missed, the night fails, or it is overdue"""

    @field_validator("name")
    @classmethod
    def _tells_the_day(cls, name: str) -> str:
        DatedNames(name)
        return name

    @field_validator("webhook")
    @classmethod
    def _is_url(cls, webhook: SecretStr | None) -> SecretStr | None:
        if webhook is None:
            return None
        url = webhook.get_secret_value()
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or not url.isprintable():
            raise ValueError("the webhook is an http:// or https:// URL")
        if not url.isascii() or " " in url:
            raise ValueError("the webhook has characters that no URL has; write them as %XX")
        if "@" in parts.netloc:
            raise ValueError("the webhook has a user name before its host; it would not be sent")
        return webhook
