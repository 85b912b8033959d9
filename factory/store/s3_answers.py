"""What an answer with a good status must hold to be one of S3.

A login page, another program at the endpoint or an old server answers with status 200 too. The SDK
makes an empty listing or an object's content of that; so every answer is looked at before it is
believed.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from factory.store.s3_errors import NOT_S3_FIX, RequestError

_OBJECT = ("ContentLength", "ETag", "LastModified")
_REQUIRED = {
    "list_objects": ("Name", "IsTruncated"),
    "list_objects_v2": ("Name", "IsTruncated"),
    "get_object": _OBJECT,
    "head_object": _OBJECT,
    "put_object": ("ETag",),
}
"""fields of the answer that S3 always sends, by operation"""
_REQUIRED_OF_ITEMS = {
    "Contents": ("Key", "Size", "LastModified", "ETag"),
    "CommonPrefixes": ("Prefix",),
}
"""fields that each item of a listing has, by the name of the list"""
_IS_PAGE = re.compile(rb"<!doctype\s+html|<html[\s/>]", re.IGNORECASE)
_MAY_BE_XML = re.compile(rb"(?:\xef\xbb\xbf)?\s*<")
_HEAD_BYTES = 1024


def refuse_page(status: int, body: bytes, endpoint: str) -> None:
    """Refuse a good answer that cannot be one of S3, by its first bytes.

    One that begins as an answer of S3 does, and is no XML, was cut short on its way; it is tried
    again.

    Args:
        endpoint: the server's URL, without secrets.

    Raises:
        RequestError: trying again does not help.
    """
    if status != 200 or not body:
        return
    if _IS_PAGE.search(body, 0, _HEAD_BYTES):
        what = "a web page"
    elif not _MAY_BE_XML.match(body):
        what = "a text that is not XML"
    else:
        return
    raise RequestError(f"{endpoint} answered with status 200 and {what}", fix=NOT_S3_FIX)


def check_answer(operation: str, given: Mapping[str, Any], answer: Any, endpoint: str) -> None:
    """Refuse an answer that lacks what S3 always sends.

    Args:
        operation: a method of boto3's S3 client; `given` are its arguments.
        answer: boto3's.
        endpoint: the server's URL, without secrets.

    Raises:
        RequestError: names the server and what is missing.
    """
    missing = list(_missing(operation, given, answer))
    if not missing:
        return
    metadata = answer.get("ResponseMetadata", {})
    kind = metadata.get("HTTPHeaders", {}).get("content-type", "")
    page = ", a web page" if kind.startswith("text/html") else ""
    raise RequestError(
        f"{endpoint} answered with status {metadata.get('HTTPStatusCode', 0)}{page} without "
        f"{', '.join(missing)}",
        fix=NOT_S3_FIX,
    )


def _missing(operation: str, given: Mapping[str, Any], answer: Any) -> Iterator[str]:
    yield from (name for name in _REQUIRED.get(operation, ()) if name not in answer)
    is_part = "Range" in given and answer.get("ContentLength") != 0  # of nothing, all is a part
    if operation == "get_object" and is_part and "ContentRange" not in answer:
        yield "ContentRange"
    for items, names in _REQUIRED_OF_ITEMS.items():
        for item in answer.get(items, ()):
            lacking = [f"{items}/{name}" for name in names if name not in item]
            if lacking:
                yield from lacking
                break


def after_page(page: Mapping[str, Any], given: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The operation that gets the next page of a listing, and its arguments.

    A server that knows the first protocol alone answers the second one's first request well, but
    without a token; its listing goes on after a name.

    Args:
        page: a truncated one.
        given: the arguments that got it.
    """
    kept = {name: value for name, value in given.items() if name in ("Prefix", "Delimiter")}
    if "NextContinuationToken" in page:
        return "list_objects_v2", kept | {"ContinuationToken": page["NextContinuationToken"]}
    names = [item["Key"] for item in page.get("Contents", ())]
    names += [folder["Prefix"] for folder in page.get("CommonPrefixes", ())]
    return "list_objects", kept | {"Marker": page.get("NextMarker") or max(names, default="")}
