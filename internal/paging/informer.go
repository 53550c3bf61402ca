// Package paging fills a cache with what an API server holds without ever holding all of it as it
// comes.
package paging

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/pager"
)

// pageSize is how many objects are asked for at a time, as many as kubectl asks for.
const pageSize = 500

// NewInformer returns an informer that applies its transform to each page of a list as the page
// comes; it is for the option NewInformer of a cache.
//
// Where the API server streams a list (WatchList: by default Kubernetes 1.32, and 1.34 and newer),
// client-go transforms one object after the other and nothing is listed. From other API servers it
// asks for all objects in one answer and transforms them when it has them all, which takes the
// memory of all of them, decoded, at once; that it asks for pages doesn't help, as it asks for any
// version of the objects (resourceVersion 0), for which the API server ignores the limit.
// NewInformer asks for the newest version, page by page.
// https://kubernetes.io/docs/reference/using-api/api-concepts/#retrieving-large-results-sets-in-chunks
//
// The transform is applied once more to what it made, so it must leave that as it is.
func NewInformer(from toolscache.ListerWatcher, example runtime.Object, resync time.Duration, indexers toolscache.Indexers) toolscache.SharedIndexInformer {
	pages := &pages{from: toolscache.ToListerWatcherWithContext(from)}
	listWatch := &toolscache.ListWatch{ListWithContextFunc: pages.list, WatchFuncWithContext: pages.from.WatchWithContext}
	return &informer{SharedIndexInformer: toolscache.NewSharedIndexInformer(listWatch, example, resync, indexers), pages: pages}
}

// informer tells pages of its transform.
type informer struct {
	toolscache.SharedIndexInformer

	pages *pages
}

// SetTransform is part of toolscache.SharedInformer.
func (i *informer) SetTransform(transform toolscache.TransformFunc) error {
	if err := i.SharedIndexInformer.SetTransform(transform); err != nil {
		return err
	}
	i.pages.transform = transform
	return nil
}

// pages reads lists. Its transform isn't set any more when the informer runs.
type pages struct {
	from      toolscache.ListerWatcherWithContext
	transform toolscache.TransformFunc
}

// list returns all objects, transformed. A list that takes so long that the API server forgets its
// version fails, and the informer begins anew; the pager's own way out is to ask for all at once.
func (p *pages) list(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
	options.ResourceVersion, options.ResourceVersionMatch = "", ""
	reader := pager.ListPager{PageSize: pageSize, PageFn: p.page}
	all, _, err := reader.List(ctx, options)
	return all, err
}

func (p *pages) page(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
	page, err := p.from.ListWithContext(ctx, options)
	if err != nil || p.transform == nil {
		return page, err
	}
	metadata, err := meta.ListAccessor(page)
	if err != nil {
		return nil, fmt.Errorf("read a page of a list: %w", err)
	}
	kept := &internalversion.List{Items: make([]runtime.Object, 0, meta.LenList(page))}
	kept.ResourceVersion, kept.Continue = metadata.GetResourceVersion(), metadata.GetContinue()
	// With copies, as an object that the transform leaves as it is would otherwise keep its whole page
	// in memory.
	err = meta.EachListItemWithAlloc(page, func(object runtime.Object) error {
		transformed, err := p.transform(object)
		if err != nil {
			return err
		}
		item, ok := transformed.(runtime.Object)
		if !ok {
			return errors.New("a transform made something that is no object")
		}
		kept.Items = append(kept.Items, item)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("make the objects of a page small: %w", err)
	}
	return kept, nil
}
