package main

import (
	"fmt"
	"iter"

	"github.com/seed-869cc763/shmkv/shm"
)

// A mapView is a map as a snapshot sees it.
type mapView struct {
	entries
	sn   *shm.Snapshot
	kind shm.Kind // 0: the snapshot does not have the map, and the view is empty
	name *string  // nil: the unnamed map
}

// entries is what maps of all kinds have in a snapshot: a *shm.Snapshot, a *shm.MapView or
// a *shm.OrderedView.
type entries interface {
	Get(key []byte) ([]byte, error)
	Has(key []byte) (bool, error)
	All() iter.Seq2[[]byte, []byte]
	Len() int
}

func unnamedView(sn *shm.Snapshot) mapView { return mapView{sn, sn, shm.KindHash, nil} }

// viewOf returns the view of a named map.
func viewOf(sn *shm.Snapshot, name string) (mapView, error) {
	hash, ordered := sn.Map(name), sn.Ordered(name)
	kind, err := kindFrom(hash, ordered)
	if kind == shm.KindOrdered {
		return mapView{ordered, sn, kind, &name}, err
	}
	return mapView{hash, sn, kind, &name}, err
}

// viewsOf returns the views of all maps of a snapshot: of the unnamed map, and of the named
// ones by their names.
func viewsOf(sn *shm.Snapshot) ([]mapView, error) {
	maps, err := sn.Maps()
	if err != nil {
		return nil, err
	}
	views := []mapView{unnamedView(sn)}
	for _, m := range maps {
		v, err := viewOf(sn, m.Name)
		if err != nil {
			return nil, err
		}
		views = append(views, v)
	}
	return views, nil
}

// each calls fn for all entries, and verifies their number.
func (v mapView) each(fn func(key, value []byte) error) error {
	seen := 0
	for key, value := range v.All() {
		if err := fn(key, value); err != nil {
			return err
		}
		seen++
	}
	if err := v.sn.Err(); err != nil {
		return err
	}
	if seen != v.Len() {
		return fmt.Errorf("%w: found %d entries in version %d, expected %d (see shmctl check)", shm.ErrCorrupt, seen, v.sn.Version(), v.Len())
	}
	return nil
}

// changes calls fn for each change from an older view of the same map.
func (v mapView) changes(older mapView, fn func(key []byte, c shm.Change) error) error {
	if v.kind != older.kind && v.kind != 0 && older.kind != 0 { // the map was dropped, and made again
		err := older.each(func(key, old []byte) error { return fn(key, shm.Change{Old: old}) })
		if err != nil {
			return err
		}
		return v.each(func(key, value []byte) error { return fn(key, shm.Change{New: value}) })
	}
	for key, c := range v.diff(older) {
		if err := fn(key, c); err != nil {
			return err
		}
	}
	return v.sn.Err()
}

// diff iterates over the changes from an older view. One of the two may be of no kind.
func (v mapView) diff(older mapView) iter.Seq2[[]byte, shm.Change] {
	switch {
	case v.name == nil:
		return v.sn.Diff(older.sn)
	case v.kind == shm.KindOrdered || older.kind == shm.KindOrdered:
		return v.sn.Ordered(*v.name).Diff(older.sn.Ordered(*v.name))
	}
	return v.sn.Map(*v.name).Diff(older.sn.Map(*v.name))
}
