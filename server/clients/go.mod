module github.com/seed-869cc763/shmkv/server/clients

go 1.26.0

require (
	github.com/seed-869cc763/shmkv v0.1.0
	github.com/stretchr/testify v1.12.1
)

require (
	github.com/bradfitz/gomemcache v0.0.0-20260422231931-4d751bb6e37c
	go.yaml.in/yaml/v3 v3.0.5 // indirect
	golang.org/x/sys v0.49.0 // indirect
)

replace github.com/seed-869cc763/shmkv => ../../
