"""Lists and uses everything that an MCP server offers: every_tool.py MODE URL, or every_tool.py MODE PROGRAM ARGUMENTS..."""

import asyncio
import sys

from mcp import Client, StdioServerParameters

ARGUMENTS = {
    "watch_connections": {"seconds": 1},
    "ai_insights": {"summary_text": "All processes made 6 outbound connection attempts over the last 60 seconds"},
    "contextual_analysis": {"query": "Does anything fail?"},
}


async def use(client: Client) -> None:
    tools = (await client.list_tools()).tools
    assert len(tools) >= 8, tools
    for tool in tools:
        result = await client.call_tool(tool.name, ARGUMENTS.get(tool.name, {}))
        assert not result.is_error, (tool.name, result.content)
        # The client itself checks it against the output schema.
        assert result.structured_content, tool.name
        assert result.content and result.content[0].text, tool.name
    wrong = await client.call_tool("list_connections", {"pid": "x"})
    assert wrong.is_error and "pid takes a process id" in wrong.content[0].text, wrong
    for resource in (await client.list_resources()).resources:
        assert (await client.read_resource(resource.uri)).contents, resource.uri
    prompts = (await client.list_prompts()).prompts
    for prompt in prompts:
        given = {argument.name: "curl" for argument in prompt.arguments or []}
        assert (await client.get_prompt(prompt.name, given)).messages, prompt.name
    print(f"{len(tools)} tools and {len(prompts)} prompts answered")


async def main(mode: str, target: list[str]) -> None:
    is_url = target[0].startswith("http")
    server = target[0] if is_url else StdioServerParameters(command=target[0], args=target[1:])
    async with Client(server, mode=mode) as client:
        await use(client)


asyncio.run(main(sys.argv[1], sys.argv[2:]))
