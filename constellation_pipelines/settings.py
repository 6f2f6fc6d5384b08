"""One settings class, read from the environment in entry points and passed on as an argument."""

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AliasChoices, Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

Days = Annotated[float, Field(gt=0, le=36_500)]


class Settings(BaseSettings):
    """Every setting of Constellation. Each is read from `CONSTELLATION_<NAME>`."""

    model_config = SettingsConfigDict(env_prefix="CONSTELLATION_", extra="ignore", frozen=True)

    data_dir: Path = Field(
        default=Path(".constellation"),
        description="Where the embedded services, logs, the lake and Dagster's files live.",
    )
    database_url: str | None = Field(
        default=None,
        description="postgresql:// URL of a PostgreSQL with PostGIS. Unset: an embedded cluster.",
    )
    nats_url: str | None = Field(
        default=None, description="nats:// URL of a server with JetStream. Unset: an embedded one."
    )
    scene_roots: Annotated[tuple[Path, ...], NoDecode] = Field(
        default=(), description="Folders scenes may come from, separated by ':'."
    )
    models_dir: Path = Field(default=Path("models"), description="Where model packages live.")
    training_data: Path | None = Field(
        default=None, description="EuroSAT zip of labelled chips, for the training asset."
    )
    api_host: str = Field(default="127.0.0.1", description="Address the API listens on.")
    api_port: int = Field(default=8080, ge=0, le=65535, description="Port of the API.")
    api_url: str | None = Field(
        default=None, description="URL of the API that commands talk to. Unset: the running stack."
    )
    api_key: SecretStr | None = Field(
        default=None,
        description="Key that commands send to the API. Unset: api_key in the data directory.",
    )
    auth: Literal["none", "required"] = Field(
        default="none",
        description="`none`: whoever reaches the API, on loopback only, is the account local. "
        "`required`: every request needs a key, a token or a session.",
    )
    session_hours: float = Field(
        default=12, gt=0, le=720, description="How long a dashboard stays signed in."
    )
    rate_reads_per_s: float = Field(
        default=100, gt=0, description="GET requests that an account may send, in the long run."
    )
    rate_writes_per_s: float = Field(
        default=20, gt=0, description="Other requests that an account may send, in the long run."
    )
    oidc_issuer: str | None = Field(
        default=None, description="Issuer of bearer tokens that are taken beside keys."
    )
    oidc_audience: str | None = Field(
        default=None, description="Audience that these tokens must name."
    )
    oidc_jwks_url: str | None = Field(
        default=None, description="https:// URL of the issuer's public keys."
    )
    oidc_account_claim: str = Field(default="sub", description="Claim that names the account.")
    oidc_scope_claim: str = Field(
        default="scope",
        description="Claim that holds constellation:viewer, constellation:operator or "
        "constellation:admin, as a list or between spaces.",
    )
    oidc_client_id: str | None = Field(
        default=None,
        description="This dashboard's id at the issuer: people then sign in there too.",
    )
    oidc_client_secret: SecretStr | None = Field(
        default=None, description="Secret of that client. Unset: a public one, with PKCE alone."
    )
    oidc_name: str | None = Field(
        default=None, max_length=60, description="What people call the issuer. Unset: its host."
    )
    public_url: str | None = Field(
        default=None,
        description="URL under which browsers reach this server. The issuer sends them back there.",
    )
    webhook_private_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Hosts of private networks that webhooks may call, separated by commas.",
    )
    keep_events_days: Days = Field(
        default=7, description="How long published events of jobs that have ended are kept."
    )
    keep_audit_days: Days = Field(default=400, description="How long rows of the audit are kept.")
    keep_sessions_days: Days = Field(
        default=7, description="How long sessions that have ended are kept."
    )
    keep_deliveries_days: Days = Field(
        default=7, description="How long webhook deliveries are kept that were made or given up."
    )
    keep_idempotency_keys_days: Days = Field(
        default=30, description="How long after a job's end its Idempotency-Key still names it."
    )
    secret_key: Path | None = Field(
        default=None,
        description="File with the key that seals webhooks' secrets. Unset: secret_key in the data "
        "directory.",
    )
    dagster_url: str | None = Field(default=None, description="URL of Dagster's web server.")
    definitions: str = Field(
        default="constellation_pipelines.definitions",
        description="Module that holds Dagster's `defs`, for the dispatcher and the worker.",
    )
    simulate_gpus: int = Field(
        default=1, ge=0, le=64, description="Simulated devices to offer where NVML finds no GPU."
    )
    simulation: Path | None = Field(
        default=None,
        description="File that tells simulated devices to fail. Unset: simulation.json in the "
        "data directory.",
    )
    engine_hang_s: float = Field(
        default=60, gt=0, description="A batch that takes longer than this has hung, in seconds."
    )
    quarantine_s: float = Field(
        default=60,
        gt=0,
        description="First pause of a device that failed, before it is probed; then it doubles.",
    )
    device_slots: int = Field(
        default=2, ge=1, le=64, description="Runs that may share a device, memory permitting."
    )
    remote_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Hosts that scenes may come from, separated by ',': host, *.domain, host:port, "
        "http://host, s3://bucket. Empty: no network.",
    )
    remote_private_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Those hosts or addresses among them that may lie in a private network.",
    )
    remote_connections: int = Field(
        default=8, ge=1, le=64, description="Requests at once for the pixels of one run."
    )
    remote_attempts: int = Field(
        default=8,
        ge=1,
        le=1000,
        description="A run fails when its host has failed so often in a row, without one byte.",
    )
    staging_mb: int = Field(
        default=20_000, ge=1, description="Disk that fetched pixels may take on this host, in MB."
    )
    s3_endpoint: str | None = Field(
        default=None, description="URL of an S3-compatible store. Unset: AWS."
    )
    s3_region: str = Field(default="us-east-1", pattern=r"^[a-z0-9-]{1,40}$")
    s3_access_key_id: str | None = Field(
        default=None,
        validation_alias=AliasChoices("CONSTELLATION_S3_ACCESS_KEY_ID", "AWS_ACCESS_KEY_ID"),
    )
    s3_secret_access_key: SecretStr | None = Field(
        default=None,
        validation_alias=AliasChoices(
            "CONSTELLATION_S3_SECRET_ACCESS_KEY", "AWS_SECRET_ACCESS_KEY"
        ),
    )
    s3_session_token: SecretStr | None = Field(
        default=None,
        validation_alias=AliasChoices("CONSTELLATION_S3_SESSION_TOKEN", "AWS_SESSION_TOKEN"),
    )
    models_mb: int | None = Field(
        default=None,
        ge=1,
        description="Memory in MiB for the weights of the models that an engine keeps loaded. "
        "Unset: 2048 on the processor, 70 % of a GPU's.",
    )
    host_name: str = Field(
        default_factory=lambda: os.uname().nodename, description="Name of this host in the fleet."
    )

    @field_validator("scene_roots", mode="before")
    @classmethod
    def split_roots(cls, value: object) -> object:
        """Accept a path list in the form of $PATH."""
        if isinstance(value, str):
            return tuple(Path(part) for part in value.split(os.pathsep) if part)
        return value

    @field_validator("remote_hosts", "remote_private_hosts", "webhook_private_hosts", mode="before")
    @classmethod
    def split_hosts(cls, value: object) -> object:
        """Accept a list with commas."""
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("data_dir", "models_dir", "simulation", "secret_key", mode="after")
    @classmethod
    def absolute(cls, value: Path | None) -> Path | None:
        """Services run in other folders, so relative paths are resolved once, here."""
        return None if value is None else value.expanduser().absolute()

    @property
    def lake_dir(self) -> Path:
        """Folder of the GeoParquet files and rasters."""
        return self.data_dir / "lake"

    @property
    def staging_dir(self) -> Path:
        """Folder of the mirrors of remote scenes."""
        return self.data_dir / "staging"

    @property
    def run_logs_dir(self) -> Path:
        """Folder with a folder per run: what it logged and printed on this host."""
        return self.data_dir / "dagster" / "compute_logs"

    @property
    def simulation_file(self) -> Path:
        """The file that tells simulated devices to fail; it may be missing."""
        return self.simulation or self.data_dir / "simulation.json"

    @property
    def secret_key_file(self) -> Path:
        """The file with the key of this installation; it is made when it is needed."""
        return self.secret_key or self.data_dir / "secret_key"

    @property
    def allowed_scene_roots(self) -> tuple[Path, ...]:
        """The roots a scene's path must lie under; by default `scenes/` in the data directory."""
        return self.scene_roots or (self.data_dir / "scenes",)
