"""AWS Signature Version 4 of a GET, for S3 and what is compatible with it."""

import hashlib
import hmac
from datetime import UTC, datetime

from constellation_pipelines.remote.hosts import Store, Target

EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()


def sign(
    target: Target, store: Store, signed: dict[str, str], at: datetime | None = None
) -> dict[str, str]:
    """Headers that sign a GET of this target with these headers; none without keys."""
    if store.key_id is None or store.secret is None:
        return {}
    stamp = (at or datetime.now(UTC)).strftime("%Y%m%dT%H%M%SZ")
    headers = {
        **signed,
        "host": target.authority,
        "x-amz-content-sha256": EMPTY_SHA256,
        "x-amz-date": stamp,
    }
    if store.token is not None:
        headers["x-amz-security-token"] = store.token
    names = ";".join(sorted(headers))
    lines = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
    request = "\n".join(["GET", target.path, "", lines, names, EMPTY_SHA256])
    scope = f"{stamp[:8]}/{store.region}/s3/aws4_request"
    hashed = hashlib.sha256(request.encode()).hexdigest()
    to_sign = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashed])
    key = f"AWS4{store.secret}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, to_sign.encode(), "sha256").hex()
    headers["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={store.key_id}/{scope}, "
        f"SignedHeaders={names}, Signature={signature}"
    )
    return headers
