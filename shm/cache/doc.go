// Package cache is a cache.
package cache
