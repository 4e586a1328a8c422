package io.github.repmgrjdbc;

/**
 * Told of every change of the cluster's view.
 *
 * <p>Called after the view has been published, by one thread per data source, in order, with no
 * lock held. A slow listener delays only the listeners; what it throws is logged and goes no
 * further.
 */
@FunctionalInterface
public interface RepmgrListener {

  /**
   * The view has changed.
   *
   * @param before the view until now
   * @param after the view from now on; its epoch is greater
   */
  void viewChanged(ClusterView before, ClusterView after);
}
