package main

import (
	"encoding/base64"

	"github.com/spf13/cobra"

	"github.com/seed-869cc763/shmkv/cmd/shmctl/internal/text"
	"github.com/seed-869cc763/shmkv/shm"
)

// keyFlag adds --key64, with which a command line can contain keys of any bytes.
func keyFlag(cmd *cobra.Command, on *bool) {
	cmd.Flags().BoolVar(on, "key64", false, "KEY is written in base64")
}

func keyArguments(args []string, in64 bool) (keys [][]byte, err error) {
	for _, arg := range args {
		key, err := keyArgument(arg, in64)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, nil
}

func keyArgument(arg string, in64 bool) ([]byte, error) {
	if !in64 {
		return []byte(arg), nil
	}
	key, err := decode64(arg)
	if err != nil {
		return nil, usagef("key %q: %w", arg, err)
	}
	return key, nil
}

func decode64(s string) ([]byte, error) { return base64.StdEncoding.Strict().DecodeString(s) }

// writeFlags are the flags of a verb that writes records, and may create their store.
type writeFlags struct {
	maxSize   bytesValue
	checksums bool
}

func (f *writeFlags) add(cmd *cobra.Command) {
	cmd.Flags().Var(&f.maxSize, "max-size", "maximum size of a store that this command creates, as in 512MiB (default 64GiB)")
	cmd.Flags().BoolVar(&f.checksums, "checksums", false, "write a checksum with each record, which check and backup verify")
}

// options returns how to open or create the store.
func (f *writeFlags) options() *shm.Options {
	return &shm.Options{MaxSize: int64(f.maxSize), Checksums: f.checksums}
}

// bytesValue is a flag value of a number of bytes, such as 4096, 64KiB or 1.5GiB.
type bytesValue int64

func (b *bytesValue) Type() string { return "SIZE" }

func (b *bytesValue) String() string {
	if *b == 0 {
		return ""
	}
	return text.Size(int64(*b))
}

func (b *bytesValue) Set(s string) error {
	n, err := text.ParseSize(s)
	*b = bytesValue(n)
	return err
}
