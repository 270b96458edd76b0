package demo

import (
	"bytes"
	"compress/gzip"
	"context"
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

const index = `Package: one
Version: 1:2.0-1
Architecture: amd64
Description: the first
 and its Version: no field

Package: nothing
Status: deinstall ok config-files


Package: two
Architecture: all
Version: 3

Package: one
Architecture: amd64
Version: 1:2.0-1
Description: the first again
`

func newDataSet() *dataSet { return &dataSet{limit: -1, most: dataBytes, keys: map[string]bool{}} }

func (d *dataSet) names() (all []string) {
	for _, r := range d.records {
		all = append(all, string(r.key))
	}
	return all
}

func TestReadPackages(t *testing.T) {
	dir := t.TempDir()
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, err := z.Write([]byte(index))
	require.NoError(t, err)
	require.NoError(t, z.Close())
	for name, content := range map[string][]byte{
		"deb.debian.org_main_binary-amd64_Packages":    []byte(index),
		"deb.debian.org_main_binary-amd64_Packages.gz": zipped.Bytes(),
		"status": []byte(index),
	} {
		name = filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(name, content, 0o600))
		d := newDataSet()
		require.NoError(t, readPackages(context.Background(), name, d), name)
		require.Equal(t, []string{"one_1:2.0-1_amd64", "two_3_all"}, d.names(), name)
		require.Equal(t, "Package: two\nArchitecture: all\nVersion: 3", string(d.records[1].value))
	}
	require.Error(t, readPackages(context.Background(), filepath.Join(dir, "absent"), newDataSet()))
}

func TestDataSetLimit(t *testing.T) {
	d := newDataSet()
	d.limit = 1
	name := filepath.Join(t.TempDir(), "status")
	require.NoError(t, os.WriteFile(name, []byte(index), 0o600))
	require.ErrorIs(t, readPackages(context.Background(), name, d), errEnough)
	require.Len(t, d.records, 1)
}

func TestAddTree(t *testing.T) {
	d := newDataSet()
	require.NoError(t, d.addTree(context.Background(), fstest.MapFS{
		"fmt/print.go": {Data: []byte("package fmt")},
		"huge":         {Data: make([]byte, recordBytes+1)},
	}))
	require.Equal(t, []string{"fmt/print.go"}, d.names())
}

// A machine that runs Go tests has a Go installation, and so a data set.
func TestFindData(t *testing.T) {
	d, err := findData(context.Background(), 100, dataBytes)
	require.NoError(t, err)
	require.Len(t, d.records, 100)
	require.NotEmpty(t, d.origin)
}

func TestReadGoSources(t *testing.T) {
	d := newDataSet()
	d.limit = 50
	require.ErrorIs(t, readGoSources(context.Background(), d), errEnough)
	require.Len(t, d.records, 50)
}
