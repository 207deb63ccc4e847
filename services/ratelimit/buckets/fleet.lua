-- A limiter says that it is alive.
--
-- KEYS: the limiters, a sorted set of names by the time of their last beat; the epoch, which is there for as long as
-- nothing was lost. ARGV: the time as in bucket.lua, the name, and how long a beat counts (microseconds).
-- Returns how many limiters are alive, and the epoch.

local now, life = time_now(ARGV[1]), tonumber(ARGV[3])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now - life))
redis.call('ZADD', KEYS[1], string.format('%.0f', now), ARGV[2])
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', life / 1000))
redis.call('SET', KEYS[2], string.format('%.0f %s', now, ARGV[2]), 'NX')
return {redis.call('ZCARD', KEYS[1]), redis.call('GET', KEYS[2])}
