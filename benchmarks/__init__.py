"""The same work on Plait, on its peers and on bare anyio and asyncio, side by side in one run."""
