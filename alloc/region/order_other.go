//go:build !amd64

package region

const weakOrder = true
