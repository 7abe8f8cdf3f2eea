"""From rows on disk to a published version: shards, what is told of them, card, statement."""
