-- For each key two arguments: the time that the asked units take, and how far ahead of now a
-- bucket may be charged, both in microseconds. A value is the time until which a bucket is charged.
-- Answers 0, or which bucket refuses longest and for how many microseconds; then none is charged.
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local which, wait, charged = 0, 0, {}
for i, key in ipairs(KEYS) do
  local charge = math.max(tonumber(redis.call('GET', key) or 0), now) + ARGV[2 * i - 1]
  local late = charge - ARGV[2 * i] - now
  if late > wait then which, wait = i, late end
  charged[i] = charge
end
if which > 0 then return { which, math.ceil(wait) } end
for i, key in ipairs(KEYS) do
  local life = math.ceil((charged[i] - now) / 1000)
  redis.call('SET', key, string.format('%.0f', charged[i]), 'PX', math.max(life, 1))
end
return { 0, 0 }
