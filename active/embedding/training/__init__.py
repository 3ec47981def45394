"""Training: an encoder learned from the user's own images, without labels (`run`) or with (`finetune`).

`options` imports nothing heavy; every other module needs torch, and nothing outside imports them
before it trains.
"""
