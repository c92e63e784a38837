"""Where the recogniser is, from what the settings say."""

from __future__ import annotations

import pytest

from qa_service.asr.endpoint import EndpointInvalid, RecogniserEndpoint


@pytest.mark.parametrize(
    ("url", "request_url"),
    [
        ("ws://localhost:8000", "ws://localhost:8000/api-ws/v1/realtime?model=m"),
        ("ws://localhost:8000/", "ws://localhost:8000/api-ws/v1/realtime?model=m"),
        ("wss://host/proxy/api-ws/v1/realtime", "wss://host/proxy/api-ws/v1/realtime?model=m"),
        ("wss://host/x?a=1", "wss://host/x?a=1&model=m"),
    ],
)
def test_a_bare_host_gets_the_protocols_path_and_every_url_the_model(url, request_url):
    assert request_url == RecogniserEndpoint(url, model="m").request_url


def test_without_a_url_the_region_decides():
    assert (
        RecogniserEndpoint.resolve(url=None, region="cn", api_key="k").address
        == "wss://dashscope.aliyuncs.com/api-ws/v1/realtime"
    )
    assert (
        RecogniserEndpoint.resolve(url=None, region="intl", api_key="k", workspace="ws-1").address
        == "wss://ws-1.ap-southeast-1.maas.aliyuncs.com/api-ws/v1/realtime"
    )


def test_the_workspace_travels_in_a_header():
    headers = RecogniserEndpoint("wss://host", "k", workspace="ws-1").request_headers

    assert (headers["Authorization"], headers["X-DashScope-WorkSpace"]) == ("Bearer k", "ws-1")


def test_the_cloud_without_a_key_is_refused_with_both_remedies():
    with pytest.raises(EndpointInvalid, match=r"QA_ASR_API_KEY is not set.*QA_ASR_URL"):
        RecogniserEndpoint.resolve(url=None)


@pytest.mark.parametrize("url", ["http://host", "localhost:8000", "ws://", ""])
def test_a_url_of_another_kind_is_refused_by_name(url):
    with pytest.raises(EndpointInvalid, match="QA_ASR_URL="):
        RecogniserEndpoint.resolve(url=url)


def test_a_key_that_fits_no_header_is_refused_without_being_repeated():
    with pytest.raises(EndpointInvalid, match="QA_ASR_API_KEY") as caught:
        RecogniserEndpoint("ws://host", api_key="se cret\n")

    assert "cret" not in str(caught.value)


def test_a_workspace_that_fits_no_host_name_is_refused():
    with pytest.raises(EndpointInvalid, match="QA_ASR_WORKSPACE"):
        RecogniserEndpoint.resolve(url=None, workspace="a/b", api_key="k")


def test_neither_key_nor_query_nor_credentials_are_printed():
    shown = repr(RecogniserEndpoint("wss://user:pass@host/x?token=t", api_key="secret"))

    assert shown == "RecogniserEndpoint('wss://host/x', model='qwen3-asr-flash-realtime')"
