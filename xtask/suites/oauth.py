"""The whole way of a client without a token, and every token that must be refused: oauth.py MCP_URL ISSUER."""

import asyncio
import sys
from urllib.parse import parse_qs, urljoin, urlparse

import httpx2
from mcp import Client
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientMetadata

BACK = "http://127.0.0.1:1/callback"
META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "suite", "version": "0"},
    "io.modelcontextprotocol/clientCapabilities": {},
}


class Memory:
    """Keeps what was registered and what was granted."""

    tokens = None
    client = None

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens

    async def get_client_info(self):
        return self.client

    async def set_client_info(self, client):
        self.client = client


async def walk(url: str) -> list[str]:
    """401, metadata, registration, PKCE, token, tool call: the tools that were offered."""
    answer = {}

    async def browse(address: str) -> None:
        async with httpx2.AsyncClient() as browser:
            while not address.startswith(BACK):
                page = await browser.get(address)
                assert page.is_redirect, (address, page.status_code, page.text)
                address = urljoin(address, page.headers["location"])
        answer.update({name: values[0] for name, values in parse_qs(urlparse(address).query).items()})

    async def code() -> AuthorizationCodeResult:
        assert "code" in answer, answer
        return AuthorizationCodeResult(code=answer["code"], state=answer.get("state"), iss=answer.get("iss"))

    about = OAuthClientMetadata(client_name="suite", redirect_uris=[BACK], token_endpoint_auth_method="none")
    memory = Memory()
    provider = OAuthClientProvider(url, about, memory, redirect_handler=browse, callback_handler=code)
    async with httpx2.AsyncClient(auth=provider, timeout=30) as http:
        async with Client(streamable_http_client(url, http_client=http)) as client:
            tools = [tool.name for tool in (await client.list_tools()).tools]
            result = await client.call_tool("get_status", {})
            assert not result.is_error and result.structured_content, result
    assert memory.client and memory.tokens, "nothing was registered or granted"
    return tools


async def machine_token(issuer: str, client: str, resource: str, scope: str) -> str:
    form = {"grant_type": "client_credentials", "resource": resource, "scope": scope}
    async with httpx2.AsyncClient() as http:
        answer = await http.post(f"{issuer}/token", data=form, auth=(client, "of-the-suite"))
    assert answer.status_code == 200, answer.text
    return answer.json()["access_token"]


async def ask(url: str, token: str | None) -> httpx2.Response:
    headers = {"Accept": "application/json, text/event-stream", "MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/list"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": META}}
    async with httpx2.AsyncClient() as http:
        return await http.post(url, headers=headers, json=body)


async def refused(url: str, token: str | None, status: int, reason: str) -> None:
    answer = await ask(url, token)
    challenge = answer.headers.get("www-authenticate", "")
    assert answer.status_code == status and reason in challenge + answer.text, (answer.status_code, challenge, answer.text)
    assert "resource_metadata=" in challenge, challenge


async def main(url: str, issuer: str) -> None:
    hasty = await machine_token(issuer, "hasty", url, "netspy:read")
    await refused(url, None, 401, "Bearer realm")
    tools = await walk(url)
    assert "list_connections" in tools, tools

    good = await machine_token(issuer, "machine", url, "netspy:read")
    offered = [tool["name"] for tool in (await ask(url, good)).json()["result"]["tools"]]
    assert "list_connections" in offered and "watch_connections" not in offered, offered
    head, body, signature = good.split(".")
    flipped = ("A" if signature[9] != "A" else "B").join([signature[:9], signature[10:]])
    await refused(url, f"{head}.{body}.{flipped}", 401, "signature is wrong")
    await refused(url, "nonsense", 401, "no JWT")
    elsewhere = await machine_token(issuer, "machine", "http://127.0.0.1:1/mcp", "netspy:read")
    await refused(url, elsewhere, 401, "for another resource")
    useless = await machine_token(issuer, "machine", url, "other:thing")
    await refused(url, useless, 403, "insufficient_scope")
    # A second of life, and the leeway for clocks that differ.
    await asyncio.sleep(7)
    await refused(url, hasty, 401, "expired")
    print("OAuth: the whole way to a tool call, and six tokens refused")


asyncio.run(main(sys.argv[1], sys.argv[2]))
