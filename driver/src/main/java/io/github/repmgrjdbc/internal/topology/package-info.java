/** What is true: what the nodes answer, and what follows from it. Not API. */
@NullMarked
package io.github.repmgrjdbc.internal.topology;

import org.jspecify.annotations.NullMarked;
