-- Tells what was invalidated after a generation, oldest first.
--
-- ARGV: the epoch and the generation up to which the caller knows the log; how many scopes to tell at most.
-- Returns the epoch, the latest generation, the beginning, the floor, and scopes with their generations.

local log = read_log()
local epoch = epoch_of(log)
local after = ARGV[1] == epoch and '(' .. ARGV[2] or '-inf'
local scopes = redis.call('ZRANGEBYSCORE', KEYS[1], after, '+inf', 'WITHSCORES', 'LIMIT', 0, ARGV[3])
return {epoch, text(log.latest), text(log.beginning), text(log.floor), scopes}
