/** How long the cluster takes for what, and what it costs: measured, for the image's README. */
@NullMarked
package io.github.repmgrjdbc.measure;

import org.jspecify.annotations.NullMarked;
