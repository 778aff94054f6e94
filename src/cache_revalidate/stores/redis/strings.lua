-- KEYS: one string per tenant and model. ARGV: the operation, the expiry, the deadline, then what is given for each key.
-- Answers the tokens in that order, and the time.

local answer = {}

for i, key in ipairs(KEYS) do
  local held = redis.pcall('GET', key) -- of a key that is no string, an error, which is no token
  local token = operate(held, ARGV[i + 3])
  if token ~= '' then
    local left = redis.call('PTTL', key)
    if token ~= held then
      redis.call('SET', key, token, 'PX', expiry)
    elseif left == -1 or left > expiry then
      redis.call('PEXPIRE', key, expiry)
    end
  end
  answer[i] = token
end

table.insert(answer, string.format('%.0f', milliseconds))
return answer
