-- KEYS: one string per tenant and model. ARGV: the operation, the expiry, then what is given for each key.
-- Answers the tokens in that order.

local answer = {}

for i, key in ipairs(KEYS) do
  local held = redis.pcall('GET', key) -- of a key that is no string, an error, which is no token
  local token = operate(held, ARGV[i + 2])
  if token ~= '' and token ~= held then
    if operation == 'raise' and is_token(held) then
      redis.call('SET', key, token, 'KEEPTTL')
    else
      redis.call('SET', key, token)
    end
  end
  limit_life(key)
  answer[i] = token
end

return answer
