-- Takes from token buckets. Each group of spends is taken whole or not at all, one group after the other.
--
-- KEYS: the epoch (see fleet.lua), and the buckets of all groups.
-- ARGV: the time, empty for the server's clock; the groups as msgpack, which is one argument to read instead of many:
--       for each group its buckets, and for each of these what it holds when full, its grains per token, its gain per
--       microsecond, what to take (all in grains), and the mode: 0 enforced, 1 shadow, 2 charged, 3 missing; the epoch
--       that the caller knows, empty for any.
-- Returns for each bucket the grains it holds after its group, and its own wait in microseconds.

local SHADOW, CHARGED, MISSING = 1, 2, 3

-- Buckets that were lost would all be full. Nobody takes from them who knows that they were not.
if ARGV[3] ~= '' and redis.call('GET', KEYS[1]) ~= ARGV[3] then
  return redis.error_reply('EPOCH the buckets were lost')
end

local now = time_now(ARGV[1])
local levels = {} -- buckets that were met already, as they will be written in the end
local answer = {}

local function is_same(size, other)
  return size.full == other.full and size.per_token == other.per_token and size.gain == other.gain
end

local function met(key, size)
  local level = levels[key]
  if level and is_same(level.size, size) then
    return level
  end
  -- One whose limit was changed meanwhile is written and read again.
  if level and level.changed then
    write_bucket(key, level.size, level.grains, now)
  end
  level = {size = size}
  level.grains, level.changed = read_bucket(key, size, now)
  levels[key] = level
  return level
end

local function paid(spend)
  if spend.mode == MISSING then
    return math.min(spend.grains, spend.size.full - spend.cost)
  end
  local left = math.min(spend.size.full, spend.grains - spend.cost)
  return spend.mode == CHARGED and math.max(left, math.min(spend.grains, -spend.size.full)) or left
end

local key = 1
for _, group in ipairs(cmsgpack.unpack(ARGV[2])) do
  local spends, allowed = {}, true
  for _, wish in ipairs(group) do
    key = key + 1
    local size = {full = wish[1], per_token = wish[2], gain = wish[3]}
    local level = met(KEYS[key], size)
    local spend = {size = size, level = level, grains = level.grains, cost = wish[4], mode = wish[5], wait = 0}
    if spend.cost > 0 and spend.mode < CHARGED then
      spend.wait = time_to_gain(size, spend.cost - spend.grains)
    end
    if spend.wait > 0 and spend.mode ~= SHADOW then
      allowed = false
    end
    spends[#spends + 1] = spend
  end
  for _, spend in ipairs(spends) do
    -- A refusal changes nothing. But a bucket from the future is always written, or it would be frozen until then.
    local left = allowed and spend.wait == 0 and paid(spend) or spend.grains
    if left ~= spend.grains then
      spend.level.grains, spend.level.changed = left, true
    end
    answer[#answer + 1] = left
    answer[#answer + 1] = spend.wait
  end
end

for name, level in pairs(levels) do
  if level.changed then
    write_bucket(name, level.size, level.grains, now)
  end
end
return answer
