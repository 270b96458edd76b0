package memcache

// Auth are the users who may send requests, with their passwords.
type Auth struct {
	users map[string]string
}
